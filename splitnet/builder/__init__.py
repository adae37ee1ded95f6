"""Partition, bottleneck, exits, training, profile, proof: what turns a model into a bundle."""
