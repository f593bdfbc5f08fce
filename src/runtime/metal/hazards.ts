/**
 * Where a concurrent encoder needs barriers: dispatches run side by side until one touches memory that another one writes.
 * A barrier orders everything before it with everything after it.
 */

/** Memory that a dispatch may touch, as addresses [start, end). */
export interface Access {
  start: number;
  end: number;
  write: boolean;
}

/** Memory that is known only when the plan runs. */
export const ANYWHERE = { start: 0, end: Infinity };

const conflict = (a: Access, b: Access): boolean => (a.write || b.write) && a.start < b.end && b.start < a.end;

/** For every dispatch, whether a barrier stands before it. As few as the order allows: none until a conflict, then one. */
export function placeBarriers(dispatches: readonly (readonly Access[])[]): boolean[] {
  let open: Access[] = [];
  return dispatches.map((accesses) => {
    const barrier = accesses.some((a) => open.some((b) => conflict(a, b)));
    if (barrier) open = [];
    open.push(...accesses);
    return barrier;
  });
}
