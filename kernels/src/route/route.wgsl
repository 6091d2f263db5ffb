// The CHOSEN best of EXPERTS experts of each token, and their shares. One workgroup for each token.
#import reduce

// Below every rank.
const LOWEST: f32 = -3.4028234e38;
const GROUP_EXPERTS: u32 = EXPERTS / GROUPS;

var<workgroup> scores: array<f32, EXPERTS>;
var<workgroup> ranks: array<f32, EXPERTS>;
var<workgroup> group_ranks: array<f32, GROUPS>;
var<workgroup> chosen: array<u32, CHOSEN>;

#import gating
#import ranking
#import shares

// How good a group is: the sum of its BEST largest ranks.
fn group_rank(group: u32) -> f32 {
    var sum = 0.0;
    var last = 0xffffffffu;
    for (var taken = 0u; taken < BEST; taken++) {
        var best = group * GROUP_EXPERTS;
        var largest = LOWEST;
        for (var expert = group * GROUP_EXPERTS; expert < (group + 1u) * GROUP_EXPERTS; expert++) {
            // The ones before were as large and lay before, or larger.
            let free = last == 0xffffffffu || ranks[expert] < ranks[last] || (ranks[expert] == ranks[last] && expert > last);
            if free && ranks[expert] > largest {
                largest = ranks[expert];
                best = expert;
            }
        }
        sum += largest;
        last = best;
    }
    return sum;
}

// Whether a group is among the KEPT best, the lower one of equals.
fn group_stays(group: u32) -> bool {
    var better = 0u;
    for (var other = 0u; other < GROUPS; other++) {
        let precedes = group_ranks[other] > group_ranks[group] || (group_ranks[other] == group_ranks[group] && other < group);
        better += select(0u, 1u, precedes);
    }
    return better < KEPT;
}

fn run(group: vec3<u32>, groups: vec3<u32>, lane: Lane) {
    let first = params.logits_offset + group.y * params.logits_stride;
    gating_scores(first, lane);
    for (var expert = lane.index; expert < EXPERTS; expert += WORKGROUP) {
        // What is not a number has no rank.
        let rank = ranking_of(first, expert);
        ranks[expert] = select(LOWEST, rank, rank >= LOWEST);
    }
    workgroupBarrier();
    for (var each = lane.index; each < GROUPS; each += WORKGROUP) {
        group_ranks[each] = group_rank(each);
    }
    workgroupBarrier();
    for (var expert = lane.index; expert < EXPERTS; expert += WORKGROUP) {
        if !group_stays(expert / GROUP_EXPERTS) {
            ranks[expert] = LOWEST;
        }
    }

    var sum = 0.0;
    for (var place = 0u; place < CHOSEN; place++) {
        // A lane looks at its own experts only, which no other lane takes.
        var largest = LOWEST;
        var best = EXPERTS - 1u;
        for (var expert = lane.index; expert < EXPERTS; expert += WORKGROUP) {
            if ranks[expert] > largest {
                largest = ranks[expert];
                best = expert;
            }
        }
        let rank = workgroup_max(largest, lane);
        // The lowest id of equals is the largest distance from the end.
        let distance = workgroup_max(select(0.0, f32(EXPERTS - 1u - best), largest == rank), lane);
        let expert = EXPERTS - 1u - u32(distance);
        if lane.index == expert % WORKGROUP {
            ranks[expert] = LOWEST;
            chosen[place] = expert;
        }
        sum += scores[expert];
    }
    workgroupBarrier();
    let row = params.output_offset + group.y * params.output_stride;
    for (var place = lane.index; place < CHOSEN; place += WORKGROUP) {
        output[row + place] = f32(chosen[place]);
        output[row + CHOSEN + place] = params.scale * shares_of(scores[chosen[place]], sum);
    }
}
