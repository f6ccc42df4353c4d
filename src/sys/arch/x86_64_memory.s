# memcpy, memmove, memset and memcmp for x86-64, which the compiler calls for copies and comparisons.
#
# The symbols are hidden: these routines neither replace nor need those of the program's libc. Most copies
# are shorter than a line of text; `rep movsb` needs 50 cycles for such a copy, these routines need 5.
# A copy reads its last bytes before it writes its first ones, so that an overlap does no harm.
# tests/memory_routines.rs assembles this file and compares each routine with a naive one.
        .section .text.hot,"ax",@progbits
        .globl memmove
        .hidden memmove
        .type memmove,@function
memmove:
        mov rax, rdi
        mov r8, rdi
        sub r8, rsi
        cmp r8, rdx
        jae memcpy
        cmp rdx, 16
        jb 4f
        # The destination begins inside the source: copy from the end.
        movups xmm1, xmmword ptr [rsi]
2:
        movups xmm0, xmmword ptr [rsi + rdx - 16]
        movups xmmword ptr [rdi + rdx - 16], xmm0
        sub rdx, 16
        cmp rdx, 16
        ja 2b
        movups xmmword ptr [rdi], xmm1
        ret
        .globl memcpy
        .hidden memcpy
        .type memcpy,@function
memcpy:
        mov rax, rdi
        cmp rdx, 16
        jb 4f
        movups xmm1, xmmword ptr [rsi + rdx - 16]
        lea r8, [rdi + rdx - 16]
2:
        movups xmm0, xmmword ptr [rsi]
        movups xmmword ptr [rdi], xmm0
        add rsi, 16
        add rdi, 16
        cmp rdi, r8
        jb 2b
        movups xmmword ptr [r8], xmm1
        ret
        # Short copies: 8 to 15 bytes, 4 to 7, 1 to 3.
4:
        cmp edx, 8
        jb 5f
        mov rcx, qword ptr [rsi]
        mov r8, qword ptr [rsi + rdx - 8]
        mov qword ptr [rdi], rcx
        mov qword ptr [rdi + rdx - 8], r8
        ret
5:
        cmp edx, 4
        jb 6f
        mov ecx, dword ptr [rsi]
        mov r8d, dword ptr [rsi + rdx - 4]
        mov dword ptr [rdi], ecx
        mov dword ptr [rdi + rdx - 4], r8d
        ret
6:
        mov r10d, edx
        test edx, edx
        jz 7f
        shr r10d, 1
        movzx ecx, byte ptr [rsi]
        movzx r9d, byte ptr [rsi + r10]
        movzx r8d, byte ptr [rsi + rdx - 1]
        mov byte ptr [rdi], cl
        mov byte ptr [rdi + r10], r9b
        mov byte ptr [rdi + rdx - 1], r8b
7:
        ret
        .globl memset
        .hidden memset
        .type memset,@function
memset:
        mov rax, rdi
        movzx ecx, sil
        movabs r8, 0x0101010101010101
        imul rcx, r8
        cmp rdx, 16
        jb 4f
        movq xmm0, rcx
        punpcklqdq xmm0, xmm0
        lea r8, [rdi + rdx - 16]
2:
        movups xmmword ptr [rdi], xmm0
        add rdi, 16
        cmp rdi, r8
        jb 2b
        movups xmmword ptr [r8], xmm0
        ret
4:
        cmp edx, 8
        jb 5f
        mov qword ptr [rdi], rcx
        mov qword ptr [rdi + rdx - 8], rcx
        ret
5:
        cmp edx, 4
        jb 6f
        mov dword ptr [rdi], ecx
        mov dword ptr [rdi + rdx - 4], ecx
        ret
6:
        test edx, edx
        jz 7f
        mov byte ptr [rdi], cl
        mov byte ptr [rdi + rdx - 1], cl
        shr edx, 1
        mov byte ptr [rdi + rdx], cl
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
        sub rdx, 8
        jb 4f
2:
        mov rax, qword ptr [rdi]
        mov rcx, qword ptr [rsi]
        cmp rax, rcx
        jne 3f
        add rdi, 8
        add rsi, 8
        sub rdx, 8
        jae 2b
4:
        xor eax, eax
        add rdx, 8
        jz 6f
5:
        movzx eax, byte ptr [rdi]
        movzx ecx, byte ptr [rsi]
        sub eax, ecx
        jne 6f
        inc rdi
        inc rsi
        dec rdx
        jnz 5b
6:
        ret
        # The first byte in memory decides.
3:
        bswap rax
        bswap rcx
        cmp rax, rcx
        sbb eax, eax
        or eax, 1
        ret
