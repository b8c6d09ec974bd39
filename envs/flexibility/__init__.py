"""The flexibility game: end-users offer load reduction to DSO and TSO in coalitions."""
