"""Writing files whole, and names that come close to a mistyped one."""
