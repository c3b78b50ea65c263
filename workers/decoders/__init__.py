"""Decoders of DICOM and raster images; they know neither Redis nor RQ."""
