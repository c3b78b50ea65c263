"""AutoAttack and its parts."""
