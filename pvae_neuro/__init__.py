"""pvae-neuro."""
