"""Which photographs of which packages are used, and for what. Names, sizes and storeys were read off the pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

FLIGHTGEAR, BLENDER, TORCS, UFOAI = "flightgear-data-base", "blender-data", "torcs-data", "ufoai-textures"
PACKAGES = (FLIGHTGEAR, BLENDER, TORCS, UFOAI)
TEXTURES = "usr/share/games/flightgear/Textures/"
TRACKS = "usr/share/games/torcs/"
WORLDS = "usr/share/blender/datafiles/studiolights/world/"
UFOAI_PACK = "usr/share/games/ufoai/base/0textures.pk3"  # a zip file
STOREY_M = 3.3
SIDE = 256  # pixels of the longer side of a texture, at most; facades and skies may be twice as long

KINDS = (
    "facade",
    "wall",
    "door",
    "poster",
    "roof",
    "road",
    "pavement",
    "cobbles",
    "grass",
    "soil",
    "hedge",
    "broadleaf",
    "bare",
    "conifer",
    "palm",
    "bush",
    "treeline",
    "person",
    "lorry",
    "day_sky",
    "grey_sky",
    "dusk_sky",
    "night_sky",
)


@dataclass(frozen=True)
class Entry:
    """One picture: a box of a file of a package."""

    kind: str
    package: str
    path: str  # in the package; in a zip file of it after "!"
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)  # left, top, right, bottom, shares of the file
    width_m: float = 1.0  # of a facade, wall or ground; the height of a tree or person is that of its object
    storeys: int = 0  # of a facade
    lights: str = ""  # the file whose red channel shows lit windows


# Facades of FlightGear's atlas, 256 x 16384 pixels: left, right, top, bottom, storeys.
ATLAS_SIZE = (256, 16384)
ATLAS = (
    (0, 128, 4608, 4864, 22), (128, 192, 4618, 4862, 30), (192, 256, 4608, 4862, 30), (0, 64, 4866, 5074, 22),
    (64, 192, 4866, 5118, 18), (192, 256, 4866, 5118, 14), (0, 256, 5120, 5372, 16), (0, 128, 5376, 5616, 22),
    (128, 256, 5376, 5608, 18), (0, 128, 5632, 6142, 18), (128, 256, 5634, 5870, 14), (128, 256, 5890, 6142, 8),
    (0, 128, 6146, 6398, 8), (128, 256, 6146, 6270, 6), (128, 192, 6274, 6398, 4), (192, 256, 6274, 6398, 5),
    (0, 256, 6402, 6500, 7), (0, 128, 6510, 6634, 4), (128, 256, 6510, 6570, 2), (128, 256, 6574, 6766, 5),
    (0, 128, 6638, 6764, 3), (0, 256, 6768, 6890, 4), (0, 256, 6894, 7016, 3), (0, 256, 7024, 7084, 2),
    (0, 256, 7088, 7206, 3), (0, 256, 7212, 7274, 2), (0, 256, 7278, 7330, 2), (0, 256, 7342, 7390, 1),
    (0, 128, 7406, 7658, 8), (128, 256, 7406, 7530, 5), (128, 256, 7534, 7658, 4), (0, 128, 7668, 7786, 3),
    (0, 256, 7790, 7838, 1), (0, 256, 7842, 8066, 3), (0, 256, 8070, 8146, 1), (0, 256, 8152, 8302, 2),
    (0, 256, 8306, 8362, 1), (0, 256, 8366, 8536, 2), (0, 256, 8540, 8666, 2), (0, 256, 8670, 8728, 1),
    (0, 256, 9528, 9780, 8), (0, 256, 9786, 9974, 3), (0, 256, 9978, 10230, 5), (0, 256, 10240, 10484, 4),
    (0, 256, 10490, 10980, 18), (0, 256, 11014, 11142, 3), (0, 256, 11146, 11282, 4), (0, 256, 11296, 11544, 9),
    (0, 256, 11552, 11870, 10), (0, 256, 11882, 12134, 4), (0, 256, 12140, 12264, 5), (0, 256, 12276, 12520, 5),
    (0, 256, 12526, 12664, 4), (0, 256, 12672, 12846, 4), (0, 256, 12854, 13180, 13), (0, 256, 13218, 13340, 2),
    (0, 256, 13346, 13596, 5), (0, 256, 13604, 13930, 13), (0, 256, 13978, 14334, 12), (0, 256, 14350, 14826, 18),
    (0, 256, 14834, 14936, 2), (0, 256, 14940, 14998, 2), (0, 256, 15006, 15230, 11), (0, 256, 15242, 15412, 2),
    (0, 256, 15418, 15530, 2), (0, 256, 15536, 15694, 2), (0, 256, 15700, 15922, 4), (0, 256, 15928, 16090, 2),
    (0, 256, 16098, 16216, 2),
)  # fmt: skip

# Facades of TORCS: file, left, top, right, bottom (shares), storeys.
TRACK_FACADES = (
    ("tracks/road/e-track-2/house17facade.png", 0, 0, 1, 1, 5),
    ("tracks/road/e-track-2/house18facade.png", 0, 0, 1, 1, 2),
    ("tracks/road/e-track-2/house20facade.png", 0, 0.1, 1, 1, 1),
    ("tracks/road/e-track-2/house21w2.png", 0, 0, 1, 1, 3),
    ("tracks/road/e-track-2/house22facade.png", 0, 0, 1, 1, 4),
    ("tracks/road/e-track-2/house23facade.png", 0, 0, 1, 1, 4),
    ("tracks/road/e-track-2/house24facade.png", 0, 0.06, 1, 1, 2),
    ("tracks/road/e-track-2/house25facade.png", 0.2, 0.22, 1, 1, 5),
    ("tracks/road/e-track-2/house25side.png", 0, 0, 1, 1, 4),
    ("tracks/road/e-track-2/house26facade.png", 0, 0, 1, 1, 2),
    ("tracks/road/e-track-2/house26base.png", 0, 0, 1, 1, 2),
    ("tracks/road/e-track-2/house27facade.png", 0, 0.56, 0.76, 1, 1),
    ("tracks/road/e-track-2/house27side.png", 0, 0, 1, 1, 1),
    ("tracks/road/e-track-2/house28facade.png", 0, 0, 1, 1, 2),
    ("tracks/road/e-track-2/house31facade.png", 0, 0, 1, 1, 2),
    ("tracks/road/e-track-2/house32facade.png", 0, 0, 1, 1, 7),
    ("tracks/road/e-track-2/house33facade.png", 0, 0, 1, 1, 3),
    ("tracks/road/e-track-2/house33side.png", 0, 0, 1, 1, 3),
    ("tracks/road/e-track-2/house34facade.png", 0, 0, 1, 1, 2),
    ("tracks/road/e-track-2/house35facade.png", 0, 0, 1, 1, 2),
    ("tracks/road/e-track-2/house36facade.png", 0, 0.25, 1, 1, 4),
    ("tracks/dirt/dirt-2/house12.png", 0, 0.35, 1, 1, 2),
    ("tracks/dirt/dirt-2/house13.png", 0.3, 0.5, 1, 1, 2),
    ("tracks/dirt/dirt-2/house15.png", 0, 0.05, 0.55, 1, 2),
    ("tracks/road/ruudskogen/lave02.png", 0, 0.5, 0.78, 0.86, 1),
    ("tracks/road/ruudskogen/lave01.png", 0, 0.5, 1, 0.93, 1),
    ("tracks/road/wheel-1/block4f.png", 0, 0, 1, 1, 5),
    ("tracks/road/e-track-2/block5f.png", 0, 0, 1, 1, 8),
    ("tracks/road/e-track-2/block5s.png", 0, 0, 1, 1, 8),
)

# Facades of UFO: Alien Invasion.
PANEL_FACADES = (
    ("tex_mattn/wall007.png", 1), ("tex_mattn/wall007_2.png", 1), ("tex_mattn/wall007_3.png", 1),
    ("tex_mattn/wall008.jpg", 1), ("tex_mattn/wall056.jpg", 1), ("tex_mattn/wall057.jpg", 1),
    ("tex_mattn/wall065.jpg", 1), ("tex_mattn/wall071.jpg", 1), ("tex_mattn/wall014.png", 1),
)  # fmt: skip

NARROW_DOORS = (
    1, 2, 3, 4, 15, 17, 18, 19, 20, 21, 22, 23, 26, 28, 29, 30, 31, 34, 39, 43, 44, 46, 47, 48, 49, 50, 51, 57, 60,
)  # fmt: skip

# Repeated surfaces of UFO: Alien Invasion: kind, metres, files.
SURFACES = (
    ("wall", 2.4, (
        "tex_ctp1/bricks_c_1.jpg", "tex_ctp1/bricks_g_1.jpg", "tex_ctp1/bricks_g_3.jpg", "tex_ctp1/bricks_m_1.jpg",
        "tex_ctp1/bricks_r_2.jpg", "tex_ctp1/bricks_r_3.jpg", "tex_ctp1/bricks_r_4.jpg", "tex_ctp1/bricks_r_5.jpg",
        "tex_ctp1/bricks_r_6.jpg", "tex_ctp1/bricks_t_1.jpg", "tex_ctp1/bricks_t_2.jpg", "tex_ctp1/bricks_t_4.jpg",
        "tex_ctp1/bricks_t_5.jpg", "tex_ctp1/bricks_w_1.jpg", "tex_ctp1/stucco_o_1.jpg", "tex_ctp1/wood_b_4.jpg",
        "tex_ctp1/wood_b_6.jpg", "tex_ctp1/woodb_5.jpg", "tex_ctp1/metal_b_1.jpg", "tex_ctp1/metal_r_2.jpg",
        "tex_ctp1/concrete_g_4.jpg", "tex_ctp1/concrete_g_7.jpg", "tex_ctp1/concrete_g_11.jpg",
        "tex_mattn/brick03.jpg", "tex_mattn/brick03a.jpg", "tex_mattn/wall003.jpg", "tex_mattn/wall005.jpg",
        "tex_mattn/wall019.jpg", "tex_mattn/wall036.jpg", "tex_mattn/wall037.jpg", "tex_mattn/wall040.jpg",
        "tex_mattn/wall041.jpg", "tex_mattn/wall044.jpg", "tex_mattn/wall049.jpg", "tex_mattn/wall053.jpg",
        "tex_mattn/wall054.jpg", "tex_mattn/wall055.jpg", "tex_mattn/wall067.jpg", "tex_mattn/wall069.jpg",
        "tex_mattn/wall070.jpg", "tex_mattn/wall073.jpg", "tex_mattn/wall075.jpg", "tex_mattn/wall078.jpg",
        "tex_mattn/wall079.jpg", "tex_mattn/wall088.png", "tex_mattn/wall_bricks001.jpg",
        "tex_mattn/wall_bricks002.jpg", "tex_mattn/wall_bricks003.jpg", "tex_mattn/wall_bricks006.png",
        "tex_buildings/concrete009.png", "tex_buildings/wall_brick01.png", "tex_mattn/wood015.jpg",
    )),
    ("door", 1.1, (
        *(f"tex_mattn/door{number:03d}.jpg" for number in NARROW_DOORS),
        "tex_doors/door016.jpg", "tex_doors/door017.jpg", "tex_doors/door018.png", "tex_doors/door020.png",
        "tex_mattn/door063.png", "tex_mattn/door064.png",
    )),
    ("door", 2.6, (
        *(f"tex_mattn/door{number:03d}.jpg" for number in (5, 16, 25, 27, 37, 38, 40, 41, 45, 52, 59)),
        "tex_ctp1/door_b_1.jpg", "tex_ctp1/door_r_1.jpg", "tex_doors/door001.jpg", "tex_doors/door014.png",
        "tex_doors/door015.png", "tex_mattn/automat.jpg", "tex_mattn/window11.png", "tex_shop/mag001.png",
        "tex_shop/mag002.png", "tex_shop/mag003.png", "tex_shop/mag004.png", "tex_shop/outlay8.jpg")),
    ("poster", 2.0, (
        "tex_misc/advertaa0.png", "tex_misc/advertaa2.png", "tex_misc/advertaa4.png", "tex_misc/advertab4.png",
        "tex_misc/advertba.png", "tex_misc/advertbb.png", "tex_mattn/art003.png",
        "tex_mattn/art004.png", "tex_mattn/clock.jpg", "tex_mattn/sign001.jpg", "tex_mattn/sign002.png",
        "tex_mattn/door054.jpg", "tex_mattn/wall074.jpg", "tex_mattn/wall086.png", "tex_mattn/wall060.jpg",
        "tex_ctp1/window_m_1.jpg", "tex_mattn/window003.jpg", "tex_mattn/subway_berlin.jpg")),
    ("roof", 2.4, (
        *(f"tex_mattn/roof{number:03d}.jpg" for number in (2, 3, 5, 7, 8, 9)),
        "tex_ctp1/roof_t_1.jpg", "tex_ctp1/roof_t_3.jpg", "tex_ctp1/roof_w_1.jpg", "tex_buildings/roof10.jpg",
        "tex_buildings/roof11.jpg", "tex_buildings/roof008.png", "tex_buildings/roof006.png")),
    ("road", 4.0, ("tex_ctp1/asphalt_b_1.jpg", "tex_streets/street001.png", "tex_streets/base.jpg",
                   "tex_streets/base_blend.jpg", "tex_mattn/street001.jpg", "tex_mattn/street010.jpg",
                   "tex_ctp1/concrete_g_6.jpg", "tex_ctp1/concrete_g_8.jpg", "tex_terrain/wasted.jpg")),
    ("pavement", 2.0, ("tex_mattn/street011.jpg", "tex_ctp1/tiles_g_1.jpg", "tex_ctp1/tiles_g_2.jpg",
                       "tex_ctp1/tiles_g_3.jpg", "tex_ctp1/tiles_w_1.jpg", "tex_buildings/floor015.png",
                       "tex_buildings/floor013.png", "tex_buildings/paving001.png", "tex_buildings/sidewalk01.png",
                       "tex_buildings/floor020.jpg", "tex_mattn/floor007.jpg", "tex_mattn/floor001.jpg",
                       "tex_ctp1/tiles_r_2.jpg", "tex_ctp1/concrete_s_1.jpg", "tex_buildings/floor_se04.png")),
    ("cobbles", 1.6, ("tex_mattn/floor009.jpg", "tex_mattn/floor011.jpg", "tex_mattn/street012.jpg",
                      "tex_buildings/floor_se04.png", "tex_ctp1/bricks_g_3.jpg", "tex_mattn/floor010.jpg")),
    ("grass", 4.0, ("tex_ctp1/grass_g_4.jpg", "tex_ctp1/grass_g_7.jpg", "tex_ctp1/grass_g_8.jpg",
                    "tex_mattn/grass001.jpg", "tex_mattn/grass002.jpg", "tex_mattn/grass003.jpg",
                    "tex_nature/grass.jpg", "tex_nature/grass003.jpg", "tex_nature/grass_lush.png",
                    "tex_nature/grass_mowed_dry_a.jpg", "tex_nature/grass_mowed_dry_c.jpg",
                    "tex_nature/grass_mowed_green_a.jpg", "tex_nature/grass_mowed_green_c.jpg",
                    "tex_nature/grass_tall_dry_b.jpg", "tex_nature/grass_tall_green_a.jpg",
                    "tex_nature/grass_tall_green_c.jpg")),
    ("soil", 3.0, ("tex_nature/soil001.jpg", "tex_nature/soil002.jpg", "tex_nature/sp_ground.jpg",
                   "tex_ctp1/ground_g_2.jpg", "tex_ctp1/pebbles_m_1.jpg", "tex_ctp1/dirt_b_4.jpg",
                   "tex_mattn/dirt002.jpg", "tex_mattn/ground_dirt2.jpg", "tex_nature/railway.png")),
    ("hedge", 1.6, ("tex_ctp1/hedge01.jpg", "tex_ctp1/hedge02.jpg", "tex_mattn/hedge001.jpg",
                    "tex_nature/hedge001.jpg")),
)  # fmt: skip

# Pictures of TORCS with transparency: kind, columns and rows of the sheet, files.
CUT_OUTS = (
    ("broadleaf", 1, 1, (
        "dirt/dirt-2/tree10_n.png", "dirt/dirt-2/tree13_n.png", "dirt/dirt-2/tree15_n.png",
        "road/brondehach/tree1_n.png", "road/brondehach/tree2_n.png", "road/corkscrew/tree3_n.png",
        "road/corkscrew/treeSC2_n.png", "road/corkscrew/treeSC_n.png", "road/corkscrew/tree_n.png",
        "road/e-track-2/tree7_n.png", "road/e-track-2/tree9_n.png", "road/e-track-3/tree11_n.png",
        "road/e-track-3/tree12_n.png", "road/e-track-6/tree_apple_n.png", "road/e-track-6/tree_maple_n.png",
        "road/wheel-2/tree_n.png", "road/wheel-2/treeg11_n.png", "dirt/dirt-3/tree_gum_arbor_n.png",
    )),
    ("bush", 1, 1, (
        "road/e-track-6/tree_bush_n.png", "road/wheel-1/tree2_n.png", "road/brondehach/treeq2_n.png",
        "dirt/dirt-3/tree_bush2_arbor_n.png",
    )),
    ("conifer", 2, 2, (
        "road/e-track-6/tree-fir_n.png",
    )),
    ("conifer", 4, 2, (
        "road/e-track-6/tree-pine1_n.png",
    )),
    ("treeline", 1, 1, (
        "dirt/dirt-2/tree18_n.png", "road/e-track-3/tree19_n.png", "road/e-track-3/tree35_n.png",
        "road/e-track-3/tree4_n.png", "road/e-track-6/treeline_n.png", "road/wheel-2/treeline.png",
    )),
    ("lorry", 1, 4, (
        "road/corkscrew/treeRNS3.png", "road/corkscrew/treeRNS4.png", "road/corkscrew/treeRNS5.png",
    )),
)  # fmt: skip

# People stand in rows of unequal places: file, and the left, top, right and bottom of each.
PEOPLE = (
    ("tracks/road/corkscrew/treeC3_n.png", tuple((k * 0.125, 0.645, (k + 1) * 0.125, 1.0) for k in range(8))),
    ("tracks/road/e-track-2/tree_eva_n.png", ((0.0, 0.0, 1.0, 1.0),)),
)

# Trees of FlightGear: kind, file, columns; of the four rows the second (bare) or the last (in leaf).
FOREST = (
    ("broadleaf", "Trees/deciduous-alt.png", range(8), 8, 3), ("bare", "Trees/deciduous-alt.png", range(4), 8, 1),
    ("conifer", "Trees/coniferous-alt.png", range(4), 8, 3), ("palm", "Trees/tropical-alt.png", range(3, 8), 8, 3),
    ("broadleaf", "Trees/australia-trees.png", (0, 2, 3), 4, 3),
    ("bush", "Trees/mediterranean-shrub.png", range(4), 4, 3),
    ("broadleaf", "Trees/evergreen-mediterranean.png", (0, 3, 4, 7), 8, 3),
    ("conifer", "Trees/evergreen-mediterranean.png", (2, 5), 8, 3),
)  # fmt: skip

# Ground of FlightGear: kind, file, box, metres.
GROUND = (
    ("road", "osm2city/roads.png", (0.13, 0.0, 0.215, 1.0), 5.0),
    ("road", "osm2city/roads.png", (0.63, 0.0, 0.675, 1.0), 3.0),
    ("grass", "Terrain/airport-grass-summer.png", (0.0, 0.0, 1.0, 1.0), 16.0),
    ("grass", "Terrain/airport-grass.png", (0.0, 0.0, 1.0, 1.0), 16.0),
    ("grass", "Terrain/grass10c.png", (0.0, 0.0, 0.5, 0.5), 16.0),
)

# Skies of Blender: kind, file, and the elevation above which there is nothing but sky, degrees.
SKIES = (
    ("grey_sky", "city.exr", 62.0),
    ("day_sky", "sunrise.exr", 26.0),
    ("dusk_sky", "sunset.exr", 38.0),
    ("dusk_sky", "sunrise.exr", 25.0),
    ("night_sky", "night.exr", 19.0),
)


def entries() -> Iterator[Entry]:
    """All pictures, in a fixed order."""
    atlas, lights = TEXTURES + "osm2city/atlas_facades.png", TEXTURES + "osm2city/atlas_facades_LM.png"
    wide, high = ATLAS_SIZE
    for x0, x1, y0, y1, storeys in ATLAS:
        width = storeys * STOREY_M * (x1 - x0) / (y1 - y0)
        yield Entry("facade", FLIGHTGEAR, atlas, (x0 / wide, y0 / high, x1 / wide, y1 / high), width, storeys, lights)
    for path, *corners, storeys in TRACK_FACADES:
        left, top, right, bottom = map(float, corners)
        yield Entry("facade", TORCS, TRACKS + path, (left, top, right, bottom), 0.0, storeys)
    for path, storeys in PANEL_FACADES:
        yield Entry("facade", UFOAI, f"{UFOAI_PACK}!textures/{path}", storeys=storeys, width_m=0.0)
    for kind, metres, paths in SURFACES:
        for path in paths:
            yield Entry(kind, UFOAI, f"{UFOAI_PACK}!textures/{path}", width_m=metres)
    for kind, path, box, metres in GROUND:
        yield Entry(kind, FLIGHTGEAR, TEXTURES + path, box, metres)
    for kind, columns, rows, paths in CUT_OUTS:
        for path, cell in product(paths, range(columns * rows)):
            left, top = cell % columns / columns, cell // columns / rows
            yield Entry(kind, TORCS, f"{TRACKS}tracks/{path}", (left, top, left + 1 / columns, top + 1 / rows))
    for path, boxes in PEOPLE:
        for box in boxes:
            yield Entry("person", TORCS, TRACKS + path, box)
    for kind, path, numbers, columns, row in FOREST:
        for number in numbers:
            box = (number / columns, row / 4, (number + 1) / columns, (row + 1) / 4)
            yield Entry(kind, FLIGHTGEAR, TEXTURES + path, box)
    for kind, path, elevation in SKIES:
        yield Entry(kind, BLENDER, WORLDS + path, (0.0, 0.0, 1.0, 0.5 - elevation / 180))
