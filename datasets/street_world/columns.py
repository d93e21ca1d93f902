"""Column numbers of the plain float arrays that the compiled kernels read.

Numba compiles module-level integers in as constants, so these names cost nothing at run time.
Lengths are metres, colours linear RGB, angles radians.
"""

# Primitive: a vertical rectangle (wall, or a billboard that is turned towards the camera).
# P_PHOTO and all columns below with PHOTO in their name: a photographed texture plus 1, or 0 for a drawn surface.
P_X0, P_Y0, P_X1, P_Y1, P_TOP, P_KIND, P_ROW, P_SEED, P_R, P_G, P_B, P_AUX, P_PHOTO, P_BARE_PHOTO = range(14)
PRIMITIVE_WIDTH = 14

# Kinds of primitives. Those from BILLBOARD on have their centre in X0, Y0 and their width in X1.
FACADE, FENCE, HEDGE, CAR_SIDE, CAR_END = range(5)
BILLBOARD = 10
TREE, PERSON, LAMP, SIGN = 10, 11, 12, 13
# P_AUX of a fence: its pattern; of a tree: its species; of a car: its shape; of a facade: share of its windows kept.
BROADLEAF, CONIFER, PALM, BUSH = range(4)

# Building: one row for every facade.
(
    B_SEED,
    B_UNIQUE,
    B_WALL_R,
    B_WALL_G,
    B_WALL_B,
    B_TRIM_R,
    B_TRIM_G,
    B_TRIM_B,
    B_ROOF_R,
    B_ROOF_G,
    B_ROOF_B,
    B_MATERIAL,
    B_EAVES,
    B_FLOOR,
    B_GROUND,
    B_BAY,
    B_WINDOW_W,
    B_WINDOW_H,
    B_ARCH,
    B_MULLION,
    B_SHUTTER,
    B_BALCONY,
    B_CORNICE,
    B_SHOP,
    B_SHOP_R,
    B_SHOP_G,
    B_SHOP_B,
    B_MURAL,
    B_IVY,
    B_STAIN,
    B_ROOF_KIND,
    B_ROOF_H,
    B_PHOTO,
    B_GROUND_PHOTO,
    B_WALL_PHOTO,
    B_ROOF_PHOTO,
    B_DOOR,
    B_POSTER,
    B_STOREYS,
    B_PHOTO_SCALE,
    B_PHOTO_SHIFT,
    B_CAST_R,
    B_CAST_G,
    B_CAST_B,
) = range(44)
# B_DOOR and B_POSTER are textures too. B_PHOTO_SCALE and _SHIFT: across the front; B_CAST: factors on its wall.
BUILDING_WIDTH = 44
BRICK, PLASTER, STONE, WOOD, GLASS, CONCRETE = range(6)
FLAT, PITCHED, GABLE, MANSARD, STEPPED = range(5)

# Light and weather of one traverse.
(
    L_AMB_R,
    L_AMB_G,
    L_AMB_B,
    L_SUN_R,
    L_SUN_G,
    L_SUN_B,
    L_SUN_X,
    L_SUN_Y,
    L_SUN_Z,
    L_FOG,
    L_FOG_R,
    L_FOG_G,
    L_FOG_B,
    L_SNOW,
    L_WET,
    L_LEAF,
    L_AUTUMN,
    L_ZEN_R,
    L_ZEN_G,
    L_ZEN_B,
    L_HOR_R,
    L_HOR_G,
    L_HOR_B,
    L_CLOUD,
    L_SEED,
    L_LAMP,
    L_HEAD,
    L_DRY,
    L_LIT,
    L_SKY_PHOTO,
    L_SKY_TURN,
    L_SKY_R,
    L_SKY_G,
    L_SKY_B,
) = range(34)
# L_SKY_TURN: of the sky's photograph, turns; L_SKY_R, _G, _B: factors on its colours.
LIGHT_WIDTH = 34

# Ground and backdrop of one street.
(
    G_AMP,
    G_WAVE,
    G_PHASE,
    G_ROAD,
    G_WALK,
    G_VERGE,
    G_LINES,
    G_TONE,
    G_WALK_R,
    G_WALK_G,
    G_WALK_B,
    G_SEED,
    G_HILL,
    G_TOWER,
    G_RIDGE,
    G_CEILING,
    G_CROSSING,
    G_GAP0,
    G_GAP0_HALF,
    G_GAP1,
    G_GAP1_HALF,
    G_COBBLE,
    G_WATER,
    G_EYE,
    G_ROAD_PHOTO,
    G_WALK_PHOTO,
    G_LAWN_PHOTO,
    G_YARD_PHOTO,
    G_TREELINE_PHOTO,
) = range(29)
# G_WATER: distance of water to the right of the centre line, 0 for none; G_EYE: camera height, 0 for that of a car.
GROUND_WIDTH = 29
