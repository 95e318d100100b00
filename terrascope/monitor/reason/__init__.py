"""Where the model meets the cube: windows out, masks back, blended into the map."""
