"""Stack use of kernel objects, from what the compiler wrote beside them."""
