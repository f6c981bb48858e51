"""Model families behind one contract, and what they are made of."""
