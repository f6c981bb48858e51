"""The names of this package, listed once: ``__init__.py`` reads it too."""

from pvae_neuro.plots.cores import core_grid as core_grid
from pvae_neuro.plots.images import as_images as as_images
from pvae_neuro.plots.images import dictionary as dictionary
from pvae_neuro.plots.images import difference_grid as difference_grid
from pvae_neuro.plots.images import image_grid as image_grid
from pvae_neuro.plots.model import plot_model as plot_model
from pvae_neuro.plots.narrow import pareto_figure as pareto_figure
from pvae_neuro.plots.parity import by_iteration as by_iteration
from pvae_neuro.plots.parity import difference_by_iteration as difference_by_iteration
from pvae_neuro.plots.parity import mark_differences as mark_differences
from pvae_neuro.plots.parity import potentials as potentials
from pvae_neuro.plots.parity import raster as raster
