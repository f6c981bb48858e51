"""What ``non-stationary`` is made of: motions of digits, tracking errors, and the lag."""
