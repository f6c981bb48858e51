"""Fine-tuning through the integers: float arrays are trained by what their integers compute."""
