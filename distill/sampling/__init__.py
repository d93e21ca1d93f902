"""Training batches: places, hard examples, augmentation."""
