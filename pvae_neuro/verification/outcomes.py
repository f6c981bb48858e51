"""What a verification can come to, and the figures that decide it."""

PASSED, FAILED, UNDECIDED, WITHIN_DECLARED = "passed", "failed", "undecided", "within-declared"

# A network that shows the mean image whatever it is given has an R² about the mean image of 0.
LEAST_EXPLAINED = 0.05
MOST_SILENT = 0.98
# Log-rates are bounded where at most 1e-4 of all counts would be beyond the cap, so the integers
# hardly ever reach it; what a cap that is too low does is to hold log-rates at that bound.
MOST_CAPPED = 1e-3
MOST_HELD = 0.01
