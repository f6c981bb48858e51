"""Parts of the experiment on generalized predictive coding: one network each."""
