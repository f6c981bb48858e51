"""Encoders from pixels to latents, and decoders from latents to pixels."""
