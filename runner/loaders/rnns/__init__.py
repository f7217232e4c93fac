"""The runners of suite `fastrnns`: recurrent networks from the library and written out, with equal weights."""
