// How alike two small pictures look: which colours there are, and where light and colour lie. It knows pixels alone.

export const WIDTH = 32;
export const HEIGHT = 18;

/** Cells over which light and colour are averaged, and bins of colours. */
const CELLS = [8, 6] as const;
const BINS = [5, 7, 7] as const;
/** At this mean difference the places of two pictures are alike by 1/e. */
const FAR = 40;

export interface Look {
  /** Luma and both colour differences of every cell. */
  places: Float32Array;
  /** The square roots of the shares that colours have in the picture. */
  colours: Float32Array;
}

/** What is compared of a picture of WIDTH by HEIGHT pixels, given as RGBA. */
export function lookOf(pixels: Uint8ClampedArray): Look {
  const [columns, rows] = CELLS;
  const places = new Float32Array(columns * rows * 3);
  const colours = new Float32Array(BINS[0] * BINS[1] * BINS[2]);
  const all = WIDTH * HEIGHT;
  const share = (columns * rows) / all;
  for (let n = 0; n < all; n++) {
    const [r, g, b] = [pixels[4 * n]!, pixels[4 * n + 1]!, pixels[4 * n + 2]!];
    const luma = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    const blue = (b - luma) * 0.5389;
    const red = (r - luma) * 0.635;
    const cell = Math.floor((Math.floor(n / WIDTH) * rows) / HEIGHT) * columns + Math.floor(((n % WIDTH) * columns) / WIDTH);
    places[3 * cell]! += luma * share;
    places[3 * cell + 1]! += blue * share;
    places[3 * cell + 2]! += red * share;
    // A colour counts in the bins around it, so that a small change moves it little.
    const [y, u, v] = [between(luma / 255, BINS[0]), between(blue / 128 + 0.5, BINS[1]), between(red / 128 + 0.5, BINS[2])];
    for (let corner = 0; corner < 8; corner++) {
      const [up, right, on] = [corner & 1, (corner >> 1) & 1, corner >> 2];
      const weight = (up ? y % 1 : 1 - (y % 1)) * (right ? u % 1 : 1 - (u % 1)) * (on ? v % 1 : 1 - (v % 1));
      if (weight) colours[((Math.floor(y) + up) * BINS[1] + Math.floor(u) + right) * BINS[2] + Math.floor(v) + on]! += weight / all;
    }
  }
  for (let n = 0; n < colours.length; n++) colours[n] = Math.sqrt(colours[n]!);
  return { places, colours };
}

const between = (share: number, bins: number) => Math.max(0, Math.min(1, share)) * (bins - 1);

/** From 0, nothing in common, to 1, the same. */
export function likeness(one: Look, other: Look): number {
  let apart = 0;
  for (let n = 0; n < one.places.length; n++) apart += Math.abs(one.places[n]! - other.places[n]!) * (n % 3 ? 2 : 1);
  let common = 0;
  for (let n = 0; n < one.colours.length; n++) common += one.colours[n]! * other.colours[n]!;
  return 0.5 * Math.exp(-apart / one.places.length / FAR) + 0.5 * common * common;
}
