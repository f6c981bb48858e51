"""``python -m pvae_neuro`` is the ``pvae-neuro`` command."""

from pvae_neuro.cli.main import main

main()
