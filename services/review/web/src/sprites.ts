// Where the small pictures of a video lie in its sheets, and the sheets themselves.

import type { Media, SpriteMap } from "./api";

/** The tile that shows a frame: the last one taken at or before it; within bounds the first there is, or none. */
export function tileOf(map: SpriteMap, frame: number, start = 0, end = Infinity): number | null {
  const before = Math.min(map.tiles - 1, Math.floor(frame / map.every));
  if (before * map.every >= start) return before;
  const after = Math.ceil(start / map.every);
  return after < map.tiles && after * map.every < end ? after : null;
}

/** The sheet of a tile, with the tile's place on it in pixels. */
export function placeOf({ sprites }: Media, map: SpriteMap, tile: number): { url: string; column: number; row: number; rows: number } {
  const each = map.columns * map.rows;
  const sheet = Math.floor(tile / each);
  const place = tile % each;
  return {
    url: sprites[sheet]!.url,
    column: place % map.columns,
    row: Math.floor(place / map.columns),
    // The last sheet is cut to the rows it needs.
    rows: Math.min(map.rows, Math.ceil((map.tiles - sheet * each) / map.columns)),
  };
}

/** Draws a tile into a rectangle. */
export function drawTile(pen: CanvasRenderingContext2D, sheet: CanvasImageSource, map: SpriteMap, at: { column: number; row: number }, left: number, top: number, width: number, height: number): void {
  pen.drawImage(sheet, at.column * map.tile_width, at.row * map.tile_height, map.tile_width, map.tile_height, left, top, width, height);
}

const sheets = new Map<string, HTMLImageElement>();
const MOST_SHEETS = 60;

/** A picture by its address, as far as it has come. */
export function picture(url: string): HTMLImageElement {
  const known = sheets.get(url);
  if (known) return known;
  const image = new Image();
  image.src = url;
  // Addresses end, and connections break: it is asked for again by whoever wants it next.
  image.addEventListener("error", () => sheets.delete(url));
  if (sheets.size > MOST_SHEETS) sheets.clear();
  sheets.set(url, image);
  return image;
}
