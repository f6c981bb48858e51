"""What ``hierarchy`` is made of: counts of each level, samples, and completion of digits."""
