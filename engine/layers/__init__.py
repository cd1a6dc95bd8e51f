"""Layers: how their archives are packed, walked and made."""
