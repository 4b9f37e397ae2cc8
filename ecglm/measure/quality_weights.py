"""Weights of the model in `ecglm.measure.quality`, made by `benchmarks/quality.py --train`."""

INTERCEPT = -1.9974
# feature: mean, deviation, weight
WEIGHTS = {
    "bad_lead_seconds": (0.1146, 0.2888, 0.1437),
    "seconds_with_a_bad_lead": (0.2174, 0.3804, 0.3098),
    "leads_with_a_wild_second": (0.0502, 0.1675, 0.1709),
    "flat_worst": (0.1736, 0.3683, 0.2618),
    "flat_second": (0.1217, 0.3204, 0.1487),
    "flat_mean": (0.1053, 0.2819, 0.1318),
    "agreement_worst": (0.5012, 0.3903, -0.4218),
    "agreement_second": (0.6658, 0.3624, -0.1015),
    "agreement_median": (0.7792, 0.3404, -0.1736),
    "likeness_worst": (0.7219, 0.3746, -0.2079),
    "likeness_third": (0.8413, 0.3234, -0.2133),
    "likeness_median": (0.8657, 0.3167, -0.1922),
    "noise_worst": (-3.4677, 0.5731, 0.1832),
    "wander_worst": (-2.3004, 1.9482, 0.2311),
    "offset_worst": (0.9655, 2.0859, 0.1842),
    "largest_range": (1.2595, 1.6815, 0.1873),
    "smallest_lead": (-1.4752, 1.4521, -0.2532),
    "second_smallest_lead": (-1.0340, 1.3483, -0.0973),
    "smallest_qrs": (-1.6946, 1.4326, -0.1477),
    "prominence": (2.1529, 1.5372, -0.0888),
}
