"""The C library of a network, run by this machine and by emulated processors. ``docs/c.md``."""
