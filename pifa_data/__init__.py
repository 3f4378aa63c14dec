"""Everything before the GPU: readers, landmark schemes, morphable models, camera, fitting, crops, stores."""
