"""Sets of places as the field has them: two folders, arrays, lists or no labels at all, each as a `RetrievalSet`."""
