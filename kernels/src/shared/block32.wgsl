// 32 consecutive elements of a row: `scale` times what `low` (the first 16) and `high` hold, 4 to a column.
struct Block32 {
    scale: f32,
    low: mat4x4<f32>,
    high: mat4x4<f32>,
}
