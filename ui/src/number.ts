// What is computed everywhere, by names that are short in the script too.

export const { abs, ceil, floor, max, min, round } = Math;
