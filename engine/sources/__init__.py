"""The places that hold images, one module or package for each."""
