"""Model families in PyTorch, all with the interface of :class:`pvae_neuro.models.base.Model`."""
