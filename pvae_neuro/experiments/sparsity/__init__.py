"""What ``rate-distortion`` is made of: the settings of its models, and their trainings."""
