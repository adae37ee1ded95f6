"""The edge: the process on the device, which answers every frame of a source."""
