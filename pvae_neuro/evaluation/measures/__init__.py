"""Measures of the papers, each as its authors' code computes it; ``docs/science/measures.md``.

Sources are named by file and function of the released code: IterativeVAE (arXiv:2410.19315) and
PoissonVAE (arXiv:2405.14473). Squared error, R² and zeros by iteration are
:class:`~pvae_neuro.evaluation.infer.Trace` and :class:`~pvae_neuro.evaluation.figures.Figures`.
"""
