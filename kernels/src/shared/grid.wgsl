// The index of a workgroup along the spread of a grid: x, and on along z past the device's limit.
fn spread_index(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.z * groups.x + group.x;
}
