"""One module per engine behind one small contract; registered by name, loaded when opened."""
