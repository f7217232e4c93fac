"""What the compiler is told, keeps, does and says of it: settings, caches, graphs, breaks, recompilations, seconds."""
