"""The coalition-choice game: owners of private lines form trading groups on a public grid."""
