// memcpy, memmove, memset and memcmp for aarch64, which the compiler calls for copies and comparisons.
//
// The symbols are hidden: these routines neither replace nor need those of the program's libc. They use
// general registers only, and unaligned accesses, which Linux allows on ordinary memory.
// A copy reads its last bytes before it writes its first ones, so that an overlap does no harm.
// tests/memory_routines.rs assembles this file and compares each routine with a naive one.
        .section .text.hot,"ax",@progbits
        .balign 4
        .globl memmove
        .hidden memmove
        .type memmove,@function
memmove:
        sub x3, x0, x1
        cmp x3, x2
        b.hs memcpy
        cmp x2, #16
        b.lo 4f
        // The destination begins inside the source: copy from the end.
        ldp x6, x7, [x1]
        add x4, x1, x2
        add x5, x0, x2
2:
        ldp x8, x9, [x4, #-16]!
        stp x8, x9, [x5, #-16]!
        sub x2, x2, #16
        cmp x2, #16
        b.hi 2b
        stp x6, x7, [x0]
        ret
        .globl memcpy
        .hidden memcpy
        .type memcpy,@function
memcpy:
        cmp x2, #16
        b.lo 4f
        add x4, x1, x2
        ldp x6, x7, [x4, #-16]
        add x5, x0, x2
        sub x5, x5, #16
        mov x3, x0
2:
        ldp x8, x9, [x1], #16
        stp x8, x9, [x3], #16
        cmp x3, x5
        b.lo 2b
        stp x6, x7, [x5]
        ret
        // Short copies: 8 to 15 bytes, 4 to 7, 1 to 3.
4:
        add x4, x1, x2
        add x5, x0, x2
        tbz x2, #3, 5f
        ldr x6, [x1]
        ldur x7, [x4, #-8]
        str x6, [x0]
        stur x7, [x5, #-8]
        ret
5:
        tbz x2, #2, 6f
        ldr w6, [x1]
        ldur w7, [x4, #-4]
        str w6, [x0]
        stur w7, [x5, #-4]
        ret
6:
        cbz x2, 7f
        lsr x3, x2, #1
        ldrb w6, [x1]
        ldrb w8, [x1, x3]
        ldurb w7, [x4, #-1]
        strb w6, [x0]
        strb w8, [x0, x3]
        sturb w7, [x5, #-1]
7:
        ret
        .globl memset
        .hidden memset
        .type memset,@function
memset:
        and x3, x1, #0xff
        mov x4, #0x0101010101010101
        mul x3, x3, x4
        add x5, x0, x2
        cmp x2, #16
        b.lo 4f
        sub x5, x5, #16
        mov x6, x0
2:
        stp x3, x3, [x6], #16
        cmp x6, x5
        b.lo 2b
        stp x3, x3, [x5]
        ret
4:
        tbz x2, #3, 5f
        str x3, [x0]
        stur x3, [x5, #-8]
        ret
5:
        tbz x2, #2, 6f
        str w3, [x0]
        stur w3, [x5, #-4]
        ret
6:
        cbz x2, 7f
        lsr x6, x2, #1
        strb w3, [x0]
        strb w3, [x0, x6]
        sturb w3, [x5, #-1]
7:
        ret
        .globl memcmp
        .hidden memcmp
        .type memcmp,@function
        .globl bcmp
        .hidden bcmp
        .type bcmp,@function
memcmp:
bcmp:
        subs x2, x2, #8
        b.lo 4f
2:
        ldr x3, [x0], #8
        ldr x4, [x1], #8
        cmp x3, x4
        b.ne 3f
        subs x2, x2, #8
        b.hs 2b
        // x2 is now the number of bytes left, minus 8: compare the last 8 bytes, some of them again.
        ldr x3, [x0, x2]
        ldr x4, [x1, x2]
        cmp x3, x4
        b.ne 3f
        mov w0, #0
        ret
        // The first byte in memory decides.
3:
        rev x3, x3
        rev x4, x4
        cmp x3, x4
        mov w0, #1
        cneg w0, w0, lo
        ret
4:
        adds x2, x2, #4
        b.mi 5f
        ldr w3, [x0]
        ldr w4, [x1]
        cmp x3, x4
        b.ne 3b
        ldr w3, [x0, x2]
        ldr w4, [x1, x2]
        cmp x3, x4
        b.ne 3b
        mov w0, #0
        ret
        // 0 to 3 bytes.
5:
        adds x2, x2, #4
        b.eq 7f
6:
        ldrb w3, [x0], #1
        ldrb w4, [x1], #1
        subs w5, w3, w4
        b.ne 8f
        subs x2, x2, #1
        b.ne 6b
7:
        mov w0, #0
        ret
8:
        mov w0, w5
        ret
