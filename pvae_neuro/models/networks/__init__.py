"""Encoders from pixels and decoders to pixels."""
