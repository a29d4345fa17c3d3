"""The napari docks, readers and sample data: what shows, asks and starts, with no science."""
