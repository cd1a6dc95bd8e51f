"""A program for containers of tests: an ELF file without libraries, because images of tests have no shell."""

from __future__ import annotations

import platform
import struct
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

_BASE = 0x400000
_HEADERS = 64 + 56
_CODE = bytes.fromhex(
    "488b0424"  # mov rax, [rsp]: the number of words
    "4883f802"  # cmp rax, 2
    "7c17"  # jl wait
    "488b7c2410"  # mov rdi, [rsp + 16]: the first argument
    "0fb63f"  # movzx edi, byte [rdi]
    "83ff6d"  # cmp edi, 'm'
    "7413"  # je fill
    "83ef30"  # sub edi, '0'
    "b83c000000"  # mov eax, exit
    "0f05"  # syscall
    "b822000000"  # wait: mov eax, pause
    "0f05"  # syscall
    "ebf7"  # jmp wait
    "b809000000"  # fill: mov eax, mmap
    "31ff"  # xor edi, edi
    "be00001000"  # mov esi, 1 MiB
    "ba03000000"  # mov edx, PROT_READ | PROT_WRITE
    "41ba22800000"  # mov r10d, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE
    "49c7c0ffffffff"  # mov r8, -1
    "4531c9"  # xor r9d, r9d
    "0f05"  # syscall
    "ebdb"  # jmp fill
)

_SAY = bytes.fromhex(
    "488d5c2410"  # lea rbx, [rsp + 16]: the first argument
    "488b33"  # next: mov rsi, [rbx]
    "4885f6"  # test rsi, rsi
    "7428"  # je done
    "31d2"  # xor edx, edx
    "ffc2"  # count: inc edx
    "803c1600"  # cmp byte [rsi + rdx], 0
    "75f8"  # jne count
    "c604160a"  # mov byte [rsi + rdx], a line ending
    "ffc2"  # inc edx
    "31ff"  # xor edi, edi
    "ffc7"  # inc edi: stdout
    "803e21"  # cmp byte [rsi], '!'
    "7502"  # jne write
    "ffc7"  # inc edi: stderr
    "b801000000"  # write: mov eax, write
    "0f05"  # syscall
    "4883c308"  # add rbx, 8
    "ebd0"  # jmp next
    "31ff"  # done: xor edi, edi
    "b83c000000"  # mov eax, exit
    "0f05"  # syscall
)


_REMOVE = bytes.fromhex(
    "488d5c2410"  # lea rbx, [rsp + 16]: the first argument
    "488b3b"  # next: mov rdi, [rbx]
    "4885ff"  # test rdi, rdi
    "740d"  # je done
    "b857000000"  # mov eax, unlink
    "0f05"  # syscall
    "4883c308"  # add rbx, 8
    "ebeb"  # jmp next
    "31ff"  # done: xor edi, edi
    "b83c000000"  # mov eax, exit
    "0f05"  # syscall
)


_COPY = bytes.fromhex(
    "4881ec00100000"  # sub rsp, 4096
    "31c0"  # next: xor eax, eax: read
    "31ff"  # xor edi, edi: stdin
    "4889e6"  # mov rsi, rsp
    "ba00100000"  # mov edx, 4096
    "0f05"  # syscall
    "85c0"  # test eax, eax
    "7e13"  # jle done
    "89c2"  # mov edx, eax
    "b801000000"  # mov eax, write
    "bf01000000"  # mov edi, stdout
    "4889e6"  # mov rsi, rsp
    "0f05"  # syscall
    "ebdb"  # jmp next
    "31ff"  # done: xor edi, edi
    "b83c000000"  # mov eax, exit
    "0f05"  # syscall
)


_CALL = bytes.fromhex(
    "4881ec00100000"  # sub rsp, 4096
    "4c8d2553000000"  # lea r12, [rip + 83]: the numbers after the program
    "4989e5"  # mov r13, rsp
    "410fb70424"  # next: movzx eax, word [r12]
    "3dffff0000"  # cmp eax, 65535: the end
    "7426"  # je done
    "4983c402"  # add r12, 2
    "31ff31f631d2"  # the arguments are 0: xor edi, edi; xor esi, esi; xor edx, edx
    "4531d24531c04531c9"  # xor r10d, r10d; xor r8d, r8d; xor r9d, r9d
    "0f05"  # syscall
    "85c0"  # test eax, eax
    "7802"  # js failed
    "31c0"  # xor eax, eax
    "f7d8"  # failed: neg eax
    "41884500"  # mov [r13], al
    "49ffc5"  # inc r13
    "ebce"  # jmp next
    "4c89ea"  # done: mov rdx, r13
    "4829e2"  # sub rdx, rsp
    "b801000000"  # mov eax, write
    "bf01000000"  # mov edi, stdout
    "4889e6"  # mov rsi, rsp
    "0f05"  # syscall
    "31ff"  # xor edi, edi
    "b83c000000"  # mov eax, exit
    "0f05"  # syscall
)


def call_program(numbers: Sequence[int]) -> bytes:
    """Return a program that makes system calls with arguments of 0 and writes their error numbers as bytes to stdout.

    A call that succeeds gives 0. The test is skipped on other machines than x86-64.
    """
    return _make_program(_CALL + struct.pack(f"<{len(numbers) + 1}H", *numbers, 0xFFFF))


def copy_program() -> bytes:
    """Return a program that copies stdin to stdout until its end.

    The test is skipped on other machines than x86-64.
    """
    return _make_program(_COPY)


def remove_program() -> bytes:
    """Return a program that removes the files that its arguments name.

    The test is skipped on other machines than x86-64.
    """
    return _make_program(_REMOVE)


def say_program() -> bytes:
    """Return a program that writes each argument as a line to stdout; one that begins with `!` to stderr.

    The test is skipped on other machines than x86-64.
    """
    return _make_program(_SAY)


def wait_program() -> bytes:
    """Return a program that waits for ever; with a digit as its argument it exits with this code.

    With `m` it takes memory until it is killed. The test is skipped on other machines than x86-64.
    """
    return _make_program(_CODE)


def _make_program(code: bytes) -> bytes:
    if platform.machine() != "x86_64":
        pytest.skip("the program for containers is for x86-64")
    size = _HEADERS + len(code)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return ident + header + segment + code
