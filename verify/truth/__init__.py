"""The certified reference: values and gradients enclosed in balls, and bounds for the step of central differences."""
