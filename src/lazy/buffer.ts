/** A buffer that is computed when it is first read. */
export interface LazyBuffer {
  readonly kind: "lazy";
}
