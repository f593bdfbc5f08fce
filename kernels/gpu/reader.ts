/** What the GPU kernels of quantised weights have in common: a type's words after its table, and its scales as floats. */
import { fn, type Tile } from "../../src/compiler/language/index.ts";
import { BLOCKS } from "../blocks.ts";
import { half, halfPower } from "../embed.ts";
import { FAMILIES, FP4_TABLE, IQ4_TABLE, type QuantisedType } from "../families.ts";

const iq4 = IQ4_TABLE;
const fp4 = FP4_TABLE;

/**
 * Helpers of a type: value = scale · (u - offset) + minimum.
 * - `decode(word)`: four values u of a block, one per byte;
 * - `scales(b, h, block, g)`: [scale, minimum] of group g as floats.
 */
export function reader(type: QuantisedType) {
  const { unit, part } = BLOCKS[type];
  const F = { ...FAMILIES[type] };
  const decode = fn(
    (al, word) => {
      if (F.table === "iq4") return al.byteLookup(iq4, word);
      if (F.table === "fp4") return al.byteLookup(fp4, word);
      return word;
    },
    { uses: { F, iq4, fp4 } },
  );
  const scales = fn(
    (al, b, h, block, g): readonly [Tile, Tile] => {
      const [d, m] = unit(b, h, block);
      if (F.scales === "e") return [halfPower(d), 0];
      if (F.scales === "d") return [half(d), 0];
      if (F.scales === "dm") return [half(d), half(m)];
      const [sc, mn] = part(b, h, block, g);
      if (F.scales === "k") return [half(d) * sc, 0];
      return [half(d) * sc, -half(m) * mn];
    },
    { uses: { unit, part, half, halfPower, F } },
  );
  return { decode, scales };
}

/** Whether a type's groups have a minimum. */
export const hasMinimum = (type: QuantisedType): boolean => ["dm", "kn", "km"].includes(FAMILIES[type].scales);
