// Threads of a threadgroup as fibers on stacks of their own.
#pragma once

namespace mh {

// Saves callee-saved registers and the stack pointer into *from, and goes on at `to`.
extern "C" void mh_switch(void** from, void* to);

// Stack memory; nothing is given back until the end of the process.
void* take_stack();
void give_stack(void* stack);
void give_all_stacks();
// A stack pointer that makes mh_switch call `entry` on the stack.
void* prepare_stack(void* stack, void (*entry)());
bool on_stacks(unsigned long address);

}  // namespace mh
