"""Constrained output: which tokens may come next, as a mask over the vocabulary, for every model that draws by steps.

A form (a JSON Schema, a regular expression, a list of texts, a grammar) becomes a grammar of llguidance. It is tried in
a confined process first, since a form may be of any size and may fault the library; then it is compiled for the
model's vocabulary, and a copy follows each choice of a request.
"""
