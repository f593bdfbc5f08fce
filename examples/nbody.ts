/**
 * Bodies that attract each other, at thread level. Every thread moves one body; the threads of a threadgroup read the others' positions through
 * shared memory, a block at a time. Energy stays nearly constant if it is right. Run it: bun examples/nbody.ts
 */
import { dim, f32, kernel, out, ptr, scalar } from "../src/compiler/language/index.ts";
import { check } from "./check.ts";

const THREADS = 64;
/** Softens close encounters. */
const SOFT = 0.01;

/**
 * One step of the leapfrog method: v += dt · a(x), then x += dt · v. bodies: x, y, z, mass of each; velocities: 3 of each.
 * Grid: (ceil(n / 64)) threadgroups of 64.
 */
export const step = kernel(
  "nbody_step",
  {
    bodies: ptr(f32),
    velocities: ptr(f32),
    moved: out(f32, (args) => 4 * Number(args.n)),
    faster: out(f32, (args) => 3 * Number(args.n)),
    n: dim,
    dt: scalar(f32),
  },
  (al, { bodies, velocities, moved, faster, n, dt, THREADS, SOFT }) => {
    const others = al.shared([THREADS, 4]);
    const t = al.threadId();
    const i = al.globalId();
    const mine = al.min(i, n - 1); // threads beyond the end help to copy, and store nothing
    const [x, y, z] = [al.load(bodies + mine * 4), al.load(bodies + mine * 4 + 1), al.load(bodies + mine * 4 + 2)];
    let [ax, ay, az] = [0.0, 0.0, 0.0];
    for (let first = 0; first < n; first += THREADS) {
      for (const k of al.unroll(4)) al.store(others + t * 4 + k, al.load(bodies + (first + t) * 4 + k, { mask: first + t < n }));
      al.barrier();
      // Bodies that are not there have mass 0 and pull nobody.
      for (let j = 0; j < THREADS; j++) {
        const dx = al.load(others + j * 4) - x;
        const dy = al.load(others + j * 4 + 1) - y;
        const dz = al.load(others + j * 4 + 2) - z;
        const near = al.rsqrt(dx * dx + dy * dy + dz * dz + SOFT);
        const pull = al.load(others + j * 4 + 3) * near * near * near;
        ax += dx * pull;
        ay += dy * pull;
        az += dz * pull;
      }
      al.barrier();
    }
    if (i < n) {
      const a = [ax, ay, az];
      for (const k of al.unroll(3)) {
        const v = al.load(velocities + i * 3 + k) + dt * a[k];
        al.store(faster + i * 3 + k, v);
        al.store(moved + i * 4 + k, al.load(bodies + i * 4 + k) + dt * v);
      }
      al.store(moved + i * 4 + 3, al.load(bodies + i * 4 + 3));
    }
  },
  { threads: THREADS, uses: { THREADS, SOFT } },
);

/** What one step does to a coordinate of a body, in plain TypeScript. */
function plainStep(bodies: Float32Array, velocities: Float32Array, dt: number, i: number, k: number): number {
  let a = 0;
  for (let j = 0; j < bodies.length / 4; j++) {
    const d = [0, 1, 2].map((c) => bodies[j * 4 + c] - bodies[i * 4 + c]);
    a += (d[k] * bodies[j * 4 + 3]) / (d[0] ** 2 + d[1] ** 2 + d[2] ** 2 + SOFT) ** 1.5;
  }
  return bodies[i * 4 + k] + dt * (velocities[i * 3 + k] + dt * a);
}

/** Kinetic and potential energy together. */
function energy(bodies: Float32Array, velocities: Float32Array): number {
  let sum = 0;
  const n = bodies.length / 4;
  for (let i = 0; i < n; i++) {
    const [vx, vy, vz] = velocities.subarray(i * 3, i * 3 + 3);
    sum += 0.5 * bodies[i * 4 + 3] * (vx * vx + vy * vy + vz * vz);
    for (let j = 0; j < i; j++) {
      const d = [0, 1, 2].map((c) => bodies[j * 4 + c] - bodies[i * 4 + c]);
      sum -= (bodies[i * 4 + 3] * bodies[j * 4 + 3]) / Math.sqrt(d[0] ** 2 + d[1] ** 2 + d[2] ** 2 + SOFT);
    }
  }
  return sum;
}

export async function main(n = 200, steps = 100, dt = 0.005): Promise<void> {
  // A disc that turns around a heavy body.
  let bodies: Float32Array = new Float32Array(n * 4);
  let velocities: Float32Array = new Float32Array(n * 3);
  bodies[3] = 1;
  for (let i = 1; i < n; i++) {
    const [angle, radius] = [Math.random() * 2 * Math.PI, 0.5 + Math.random()];
    bodies.set([radius * Math.cos(angle), radius * Math.sin(angle), 0, 0.1 / n], i * 4);
    const speed = Math.sqrt(1 / radius);
    velocities.set([-speed * Math.sin(angle), speed * Math.cos(angle), 0], i * 3);
  }
  const run = () => step.grid(Math.ceil(n / THREADS))({ bodies, velocities, n, dt });
  const { moved } = await run();
  console.log(
    check(
      moved.filter((_, i) => i % 4 < 3),
      (i) => plainStep(bodies, velocities, dt, Math.floor(i / 3), i % 3),
      1e-5,
    ),
  );

  const before = energy(bodies, velocities);
  const started = performance.now();
  for (let s = 0; s < steps; s++) ({ moved: bodies, faster: velocities } = await run());
  const ms = (performance.now() - started) / steps;
  const drift = Math.abs(energy(bodies, velocities) / before - 1);
  console.log(`${n} bodies, ${steps} steps of ${ms.toFixed(2)} ms; energy ${before.toFixed(4)} drifted by ${(drift * 100).toFixed(3)} %`);
  if (!(drift < 0.05)) throw new Error("energy is not conserved");
}

if (import.meta.main) await main();
